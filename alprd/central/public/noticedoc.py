"""The notice to the BCA as text and as PDF, ready to be sent (R-460.4.1-d)."""

from __future__ import annotations

from datetime import date

from alprd.central.public.bcanotices import CITATION, Duty

Lines = list[tuple[str, str]]
"""Heading (may be empty) and text of each paragraph."""


def paragraphs(agency: str, duty: Duty, made: date) -> Lines:
    """What the notice says."""
    facts = [
        f"Device: {duty.device}, {duty.kind}",
        *([f"Location: {duty.place}"] if duty.place else []),
        *([f"At this location since: {duty.installed}"] if duty.entry else []),
        *([f"Installed: {duty.installed}"] if duty.installed and not duty.entry else []),
        *([f"First used: {duty.first_used}"] if duty.first_used else []),
    ]
    told: Lines = [
        ("", f"To: Minnesota Bureau of Criminal Apprehension\nFrom: {agency}\nDate: {made}"),
        (
            f"Notice under {CITATION}",
            "A law enforcement agency must notify the Bureau of Criminal Apprehension within ten "
            "days of any installation or use, and of any fixed location, of an automated license "
            f"plate reader. {agency} gives notice of the following {duty.what}.",
        ),
        ("Device", "\n".join(facts)),
        ("Time", f"The ten days began on {duty.begun} and end on {duty.due}."),
    ]
    if duty.withheld:
        told.append(
            (
                "Not public",
                f"The location is security information ({duty.withheld}). It is given to the "
                "Bureau for its own use and is not to be published.",
            )
        )
    told.append(("", "Signed: ______________________________\n\nName and title:"))
    return told


def as_text(agency: str, duty: Duty, made: date) -> str:
    """The notice as plain text."""
    parts = [f"{head}\n\n{body}" if head else body for head, body in paragraphs(agency, duty, made)]
    return "\n\n".join(parts) + "\n"


def as_pdf(agency: str, duty: Duty, made: date) -> bytes:
    """The notice on a page of US Letter; the same input gives the same text, not the same bytes."""
    from fpdf import FPDF  # its type faces' tables take longer to load than the notice to make
    from fpdf.enums import XPos, YPos

    page = FPDF(format="Letter")
    page.set_lang("en-US")
    page.set_title(f"Notice under {CITATION}: {_latin(duty.device)}")
    page.set_author(_latin(agency))
    page.set_margins(25, 25)
    page.add_page()
    for head, body in paragraphs(agency, duty, made):
        if head:
            page.set_font("Helvetica", "B", 13)
            page.multi_cell(0, 8, _latin(head), new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        page.set_font("Helvetica", "", 11)
        page.multi_cell(0, 6, _latin(body), new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        page.ln(5)
    return bytes(page.output())


def _latin(text: str) -> str:
    """The fonts that every reader of PDF has know Latin-1 alone; the text version has it all."""
    plain = text.replace("–", "-").replace("’", "'").replace("“", '"').replace("”", '"')
    return plain.encode("latin-1", "replace").decode("latin-1")
