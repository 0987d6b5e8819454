"""Train, evaluate and report one model on one data set, from a checkout.

Options are RecBole's, each as ``--key=value`` or in a yaml file::

    python run_recbole_compress.py --model=CpRecNextItNet --dataset=ml-100k
    python run_recbole_compress.py --model=SASRec --dataset=ml-100k --config_files=my.yaml

An installed package offers the same as the command ``recbole-compress``.
"""

import sys

# Data loader workers that are spawned import this file again: the heavy import belongs behind
# the guard, with the run.
if __name__ == "__main__":
    from recbole_compress.quick_start.command_line import main

    sys.exit(main())
