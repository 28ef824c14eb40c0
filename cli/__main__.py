"""The entry point of `pneumoscreen`: nothing is imported before it is settled from where."""

from shared.base import surroundings


def main() -> None:
    surroundings.prepare()
    from cli.main import main

    main()


if __name__ == "__main__":
    main()
