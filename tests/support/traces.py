"""Lync and Skype for Business traces in each dialect; all hold one INVITE of call-1 and its 180."""

SDP = "v=0\r\no=- 0 0 IN IP4 192.0.2.2\r\ns=session\r\nt=0 0\r\nm=audio 5004 RTP/AVP 0\r\n"

HEADERS = """\
From: "Alice"<sip:alice@example.com>;tag=a;epid=1
To: <sip:bob@example.com>
CSEQ: 1 INVITE
CALL-ID: call-1
VIA: SIP/2.0/TLS 192.0.2.2:49312;branch=z9hG4bK1
CONTACT: <sip:alice@example.com;gruu>
HISTORY-INFO: <sip:bob@example.com>;index=1;ms-retarget-reason=forwarding
CONTENT-TYPE: application/sdp
"""

OCS_2010 = (
    """\
TL_INFO(TF_PROTOCOL) [0]06E4.0EB4::01/18/2012-05:00:43.101.00005386 (SIPStack,SIPAdminLog::\
TraceProtocolRecord:SIPAdminLog.cpp(125))$$begin_record
Trace-Correlation-Id: 2003888399
Instance-Id: 0000C23F
Direction: incoming;source="internal edge";destination="external edge"
Peer: Lync1.Example.com:61182
Message-Type: request
Start-Line: INVITE sip:bob@example.com SIP/2.0
"""
    + HEADERS
    + """\
Message-Body: v=0
o=- 0 0 IN IP4 192.0.2.2
s=session

t=0 0
a=x:$$ not the end $$end_record
m=audio 5004 RTP/AVP 0

$$end_record

TL_INFO(TF_DIAG) [0]06E4.0EB4::01/18/2012-05:00:43.150.00005387 (SIPStack,SIPAdminLog::\
TraceDiagRecord:SIPAdminLog.cpp(147))$$begin_record
Severity: information
Text: Routed a request
SIP-Start-Line: INVITE sip:bob@example.com SIP/2.0
SIP-Call-ID: call-1
$$end_record

TL_INFO(TF_PROTOCOL) [0]06E4.0EB4::01/18/2012-05:00:43.301.00005388 (SIPStack,SIPAdminLog::\
TraceProtocolRecord:SIPAdminLog.cpp(125))$$begin_record
Trace-Correlation-Id: 2003888399
Instance-Id: 0000C240
Direction: outgoing
Peer: Lync1.Example.com:61182
Message-Type: response
Start-Line: SIP/2.0 180 Ringing
"""
    + HEADERS
    + "Message-Body: -\n$$end_record\n"
)

OCS_2007 = "\n".join(
    line for line in OCS_2010.split("\n") if not line.startswith(("Trace-Correlation-Id", "Message-Type"))
)

_RECORD = "(SIPStack,SIPAdminLog::ProtocolRecord::Flush:ProtocolRecord.cpp(265)) [156659184] $$begin_record\n"
CLS = (
    "TL_INFO(TF_PROTOCOL) [pool01\\FE01]0584.0A44::03/02/2017-07:10:46.230.0000773E "
    + _RECORD
    + "Trace-Correlation-Id: 156659184\nInstance-Id: 3F7\nDirection: incoming\nPeer: 192.0.2.2:49312\n"
    + "Message-Type: request\nStart-Line: INVITE sip:bob@example.com SIP/2.0\n"
    + HEADERS
    + "Message-Body: ----****MESSAGE BODY DELETED****----\n$$end_record\n\n"
    + "TL_WARN(TF_DIAG) [pool01\\FE01]0584.0A44::03/02/2017-07:10:46.235.0000773F "
    + _RECORD.replace("ProtocolRecord", "DiagRecord")
    + "Severity: warning\nText: Message was not sent\nSIP-Start-Line: SIP/2.0 180 Ringing\n$$end_record\n\n"
    + "TL_VERBOSE(TF_COMPONENT) [pool01\\FE01]0584.0A44::03/02/2017-07:10:46.236.00007740 "
    + "(SIPStack,CSIPRequest::Foo) entering\n"
    + "TL_INFO(TF_PROTOCOL) [pool01\\FE01]0584.0A44::03/02/2017-07:10:46.430.00007741 "
    + _RECORD
    + "Trace-Correlation-Id: 156659184\nInstance-Id: 3F8\nDirection: outgoing\nPeer: 192.0.2.2:49312\n"
    + "Message-Type: response\nStart-Line: SIP/2.0 180 Ringing\n"
    + HEADERS
    + "Message-Body: -\n"  # and no end marker: the log was rotated here
)

_ENDS = "192.0.2.1:5061 (From Local Address: 192.0.2.2:49312) 700 bytes"
_ENDS_IN = "192.0.2.1:5061 (To Local Address: 192.0.2.2:49312) 600 bytes"
_AT = "04/16/2013|03:17:30.168 1F68:C14 INFO  :: "
_LATER = "04/16/2013|03:17:30.368 1F68:C14 INFO  :: "
UCCAPI = (
    "04/16/2013|03:17:29.000 1F68:C14 TRACE :: CUccPlatform::Initialize\n"
    f"{_AT}Sending Packet - {_ENDS}:\n{_AT}INVITE sip:bob@example.com SIP/2.0\n"
    + HEADERS
    + "\n"
    + SDP.replace("\r\n", "\n")
    + f"\n{_AT}End of Sending Packet - {_ENDS}\n"
    + f"{_LATER}Data Received -{_ENDS_IN}:\n{_LATER}SIP/2.0 180 Ringing\n"
    + "04/16/2013|03:17:30.369 1F68:0AA0 TRACE :: another thread says something\n"
    + HEADERS.replace("CONTENT-TYPE: application/sdp\n", "")
    + f"\n{_LATER}End of Data Received -{_ENDS_IN}\n"
)

DIALECTS = {"ocs-2007": OCS_2007, "ocs-2010": OCS_2010, "cls": CLS, "uccapi": UCCAPI}


def as_sipp_log(sent: bytes, received: bytes = b"", time: str = "2023-11-14 22:13:20.123456") -> str:
    """Write a SIPp message log of one or two messages."""
    dashes = "-" * 47
    log = f"{dashes} {time}\nUDP message sent ({len(sent)} bytes):\n\n{sent.decode()}\n"
    if received:
        log += f"{dashes} {time}\nUDP message received [{len(received)}] bytes :\n\n{received.decode()}\n"
    return log


def as_file(text: str) -> bytes:
    """With the line ends of Windows."""
    return text.replace("\r\n", "\n").replace("\n", "\r\n").encode()
