# What `scaling.NAME` is, for editors and type checkers: `__init__.py` imports each name on first use.
from scaling.api.costs import dryrun as dryrun
from scaling.api.costs import estimate as estimate
from scaling.api.costs import models as models
from scaling.api.demo import demo as demo
from scaling.api.emergence import emergence as emergence
from scaling.api.evaluations import evaluate as evaluate
from scaling.api.figures import plot as plot
from scaling.api.figures import report as report
from scaling.api.launch import launch as launch
from scaling.api.laws import fit as fit
from scaling.api.plans import plan as plan
from scaling.api.points import read as read
from scaling.api.runs import check_mup as check_mup
from scaling.api.runs import status as status
from scaling.api.runs import sweep as sweep
from scaling.api.runs import train as train
from scaling.api.weights import export_hf as export_hf
from scaling.api.weights import generate as generate
from scaling.api.weights import import_hf as import_hf
from scaling.api.weights import score as score
from scaling.runtime.errors import BadInputError as BadInputError

__version__: str
