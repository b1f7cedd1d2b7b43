"`python -m ulmfit_nb` and `torchrun -m ulmfit_nb` are the `ulmfit` command."
from ulmfit_nb.cli import main

if __name__ == '__main__': main()
