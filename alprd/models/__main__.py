"""``python -m alprd.models``: record the SHA-256 of freshly trained model files."""

from alprd.models import write_sums

if __name__ == "__main__":
    print(write_sums())
