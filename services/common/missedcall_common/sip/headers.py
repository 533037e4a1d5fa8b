"""All header parsers under one name; each lives in the file of its subject, with its rules.

None of them raises, whatever the text.
"""

from .dialog import NIL_UUID, Replaces, feature_tags, parse_replaces, parse_session_id
from .grammar import NameAddr, parse_name_addr, parse_params, split_all, split_values, tag, unquote
from .history import Diversion, HistoryEntry, escaped_headers, parse_diversions, parse_history_info
from .identity import Identity, caller_identity, privacy
from .reason import Diagnostic, Reason, SipWarning, parse_diagnostics, parse_reasons, parse_warnings
from .sdp import media_types
from .transaction import Via, branches, cseq, parse_vias

__all__ = [
    "NIL_UUID",
    "Diagnostic",
    "Diversion",
    "HistoryEntry",
    "Identity",
    "NameAddr",
    "Reason",
    "Replaces",
    "SipWarning",
    "Via",
    "branches",
    "caller_identity",
    "cseq",
    "escaped_headers",
    "feature_tags",
    "media_types",
    "parse_diagnostics",
    "parse_diversions",
    "parse_history_info",
    "parse_name_addr",
    "parse_params",
    "parse_reasons",
    "parse_replaces",
    "parse_session_id",
    "parse_vias",
    "parse_warnings",
    "privacy",
    "split_all",
    "split_values",
    "tag",
    "unquote",
]
