"""``python -m alprd``: the command ``alprd``, for where it is not on the path."""

from alprd.cli import main

if __name__ == "__main__":
    main(prog_name="alprd")
