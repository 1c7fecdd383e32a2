"""For tests of WebSocket applications: peers and faults without a kernel socket, to be used with a mock clock.

This file only re-exports. Nothing of `trio_bunws` itself imports it.
"""

from trio_bunws.testing._check_broker import check_broker as check_broker
from trio_bunws.testing._faults import cut as cut, stalled as stalled
from trio_bunws.testing._memory import MemoryListener as MemoryListener
from trio_bunws.testing._pair import open_pair as open_pair
from trio_bunws.testing._raw_peer import Frame as Frame, RawPeer as RawPeer

for _public in list(globals().values()):
    if getattr(_public, "__module__", "").startswith(f"{__name__}."):
        _public.__module__ = __name__
