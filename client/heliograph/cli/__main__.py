"""`python -m heliograph.cli`: the same as the command `heliograph`, in a chosen interpreter."""

import sys

from heliograph.cli import main

sys.exit(main())
