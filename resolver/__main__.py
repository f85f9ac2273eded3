"""``python -m resolver`` is the console script ``resolver``."""

from resolver.cli import main

if __name__ == "__main__":
    main()
