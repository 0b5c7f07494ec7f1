"""The peers, each called as its documentation shows, with its own defaults. Nobody's usage reporting is switched on here."""

import logging
import os
import warnings

os.environ |= {"DO_NOT_TRACK": "1", "NML_DISABLE_USAGE_LOGGING": "1"}
warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)
