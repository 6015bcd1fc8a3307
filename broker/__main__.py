"""`python -m broker …` is `vedette …`."""

from broker.cli import main

main(prog_name="vedette")
