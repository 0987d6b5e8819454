"""``python -m recbole_compress`` and ``torchrun -m recbole_compress``: the command line."""

import sys

# Processes that are spawned import this file again.
if __name__ == "__main__":
    from recbole_compress.quick_start.command_line import main

    sys.exit(main())
