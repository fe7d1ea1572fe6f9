import sys

from gantool.cli.dispatch import main

if __name__ == "__main__":
    sys.exit(main())
