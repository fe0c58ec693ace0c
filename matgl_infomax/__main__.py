"""``python -m matgl_infomax``: the command line, where its program is not on the path."""

import sys

from matgl_infomax.cli import main

if __name__ == "__main__":
    sys.exit(main())
