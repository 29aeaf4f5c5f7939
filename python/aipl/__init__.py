"""AIPL consumer stages, audiences and flows over a brand's own event data.

Point it at raw behavior events, name a stage model and a day, and get every consumer's stage for every brand, as a table and
as audiences. Everything runs in this process; nothing is sent anywhere.

>>> snap = aipl.snapshot(events, aipl.StageModel.preset("databank"), as_of="2024-06-30")
>>> snap.audience("acme", "loyalty").ids()
['u5']
"""

from aipl._assets import (
    ConsumerEquity,
    Fast,
    Grow,
    consumer_equity,
    fast,
    grow,
    grow_opportunity,
)
from aipl._audience import Audience, MatchReport, Universe
from aipl._bank import DataBank
from aipl._core import __version__
from aipl._errors import (
    AiplError,
    AudienceError,
    ColumnNotFoundError,
    CorruptStoreError,
    FormatVersionError,
    IdentityError,
    InternalError,
    LimitError,
    LostDataWarning,
    MemoryLimitError,
    ModelError,
    NoSpaceError,
    ParameterError,
    RejectedRowsError,
    RejectedRowsWarning,
    SchemaError,
    SourceError,
    StoreError,
    StoreLockedError,
    UniverseMismatchError,
)
from aipl._events import Events, from_arrow, scan_csv, scan_ipc, scan_parquet
from aipl._flow import Flow, flow, flow_triangle
from aipl._identity import IdentityMap, IdType, connected_components, resolve_identities
from aipl._insight import (
    Crosstab,
    Penetration,
    Profile,
    Rfm,
    crosstab,
    penetration,
    profile,
    rfm,
)
from aipl._log import EventLog
from aipl._measured import (
    Attributes,
    attributes,
)
from aipl._members import (
    Benefits,
    Membership,
    benefits,
    membership,
)
from aipl._model import StageModel
from aipl._options import ReadOptions
from aipl._over_time import Timeline, history, timeline, transition_drivers, trend
from aipl._report import Report
from aipl._sales import AacBridge, GmvAac, NewVsExisting, aac_bridge, gmv_aac, new_vs_existing
from aipl._schema import EventSchema
from aipl._snapshot import Snapshot, snapshot
from aipl._table import Table
from aipl._threads import num_threads, set_num_threads
from aipl._tracking import (
    CohortTrack,
    Concentration,
    Retention,
    cohort_track,
    concentration,
    retention,
)

__all__ = [
    "AacBridge",
    "AiplError",
    "Attributes",
    "Audience",
    "AudienceError",
    "Benefits",
    "CohortTrack",
    "ColumnNotFoundError",
    "Concentration",
    "ConsumerEquity",
    "CorruptStoreError",
    "Crosstab",
    "DataBank",
    "EventLog",
    "EventSchema",
    "Events",
    "Fast",
    "Flow",
    "FormatVersionError",
    "GmvAac",
    "Grow",
    "IdType",
    "IdentityError",
    "IdentityMap",
    "InternalError",
    "LimitError",
    "LostDataWarning",
    "MatchReport",
    "Membership",
    "MemoryLimitError",
    "ModelError",
    "NewVsExisting",
    "NoSpaceError",
    "ParameterError",
    "Penetration",
    "Profile",
    "ReadOptions",
    "RejectedRowsError",
    "RejectedRowsWarning",
    "Report",
    "Retention",
    "Rfm",
    "SchemaError",
    "Snapshot",
    "SourceError",
    "StageModel",
    "StoreError",
    "StoreLockedError",
    "Table",
    "Timeline",
    "Universe",
    "UniverseMismatchError",
    "__version__",
    "aac_bridge",
    "attributes",
    "benefits",
    "cohort_track",
    "concentration",
    "connected_components",
    "consumer_equity",
    "crosstab",
    "fast",
    "flow",
    "flow_triangle",
    "from_arrow",
    "gmv_aac",
    "grow",
    "grow_opportunity",
    "history",
    "membership",
    "new_vs_existing",
    "num_threads",
    "penetration",
    "profile",
    "resolve_identities",
    "retention",
    "rfm",
    "scan_csv",
    "scan_ipc",
    "scan_parquet",
    "set_num_threads",
    "snapshot",
    "timeline",
    "transition_drivers",
    "trend",
]

for _name in __all__:
    # Names in tracebacks, reprs and pickles are those that people import.
    if isinstance(globals()[_name], type):
        globals()[_name].__module__ = "aipl"
del _name
