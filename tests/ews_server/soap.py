"""SOAP 1.1 as Exchange speaks it: envelopes in, envelopes and faults out."""

from typing import NamedTuple

from lxml import etree

S = "http://schemas.xmlsoap.org/soap/envelope/"
T = "http://schemas.microsoft.com/exchange/services/2006/types"
M = "http://schemas.microsoft.com/exchange/services/2006/messages"
E = "http://schemas.microsoft.com/exchange/services/2006/errors"
NAMESPACES = {"s": S, "t": T, "m": M}


class FaultError(Exception):
    """Answered with a soap:Fault and status 500, nothing done."""

    def __init__(self, code: str, text: str = "", *, back_off_ms: int | None = None) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text or code
        self.back_off_ms = back_off_ms


class Request(NamedTuple):
    """What a client asks for."""

    operation: str
    body: etree._Element
    headers: tuple[etree._Element, ...]

    def header(self, path: str) -> str:
        """Return the text at a path below soap:Header; "" if there is none."""
        for element in self.headers:
            found = etree.ElementTree(element).xpath(f"/{path}", namespaces=NAMESPACES)
            if found:
                return found[0].text or ""
        return ""


def parse(data: bytes) -> Request:
    """Read an envelope.

    Raises:
        FaultError: it is none, or has a DTD.
    """
    parser = etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True)
    try:
        envelope = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        raise FaultError("ErrorInvalidRequest", f"not XML: {error}") from error
    if envelope.getroottree().docinfo.doctype:
        raise FaultError("ErrorInvalidRequest", "a DTD is not allowed")
    body = envelope.find(f"{{{S}}}Body")
    if envelope.tag != f"{{{S}}}Envelope" or body is None or len(body) != 1:
        raise FaultError("ErrorInvalidRequest", "no SOAP 1.1 envelope with one request in its body")
    headers = envelope.find(f"{{{S}}}Header")
    request = body[0]
    if etree.QName(request).namespace != M:
        raise FaultError("ErrorInvalidRequest", "a request of another namespace")
    return Request(etree.QName(request).localname, request, tuple(headers) if headers is not None else ())


def make(tag: str, text: str | None = None, *children: etree._Element, **attributes: str) -> etree._Element:
    """Return an element; `tag` is `t:Name` or `m:Name`."""
    prefix, _, name = tag.partition(":")
    element = etree.Element(f"{{{NAMESPACES[prefix]}}}{name}", attributes, nsmap=NAMESPACES)
    element.text = text
    element.extend(children)
    return element


def server_version() -> etree._Element:
    """Return what an Exchange 2019 says of itself."""
    return make(
        "t:ServerVersionInfo",
        MajorVersion="15",
        MinorVersion="2",
        MajorBuildNumber="1544",
        MinorBuildNumber="9",
        Version="V2017_07_11",
    )


def envelope(body: etree._Element) -> bytes:
    """Return an answer as bytes."""
    root = etree.Element(f"{{{S}}}Envelope", nsmap=NAMESPACES)
    header = etree.SubElement(root, f"{{{S}}}Header")
    header.append(server_version())
    etree.SubElement(root, f"{{{S}}}Body").append(body)
    return etree.tostring(root, xml_declaration=True, encoding="utf-8")


def fault(error: FaultError) -> bytes:
    """Return a fault as Exchange writes it: without our header, the code in the detail."""
    root = etree.Element(f"{{{S}}}Envelope", nsmap={"s": S})
    found = etree.SubElement(etree.SubElement(root, f"{{{S}}}Body"), f"{{{S}}}Fault")
    etree.SubElement(found, "faultcode", nsmap={"a": T}).text = f"a:{error.code}"
    etree.SubElement(found, "faultstring").text = error.text
    detail = etree.SubElement(found, "detail")
    etree.SubElement(detail, f"{{{E}}}ResponseCode", nsmap={"e": E}).text = error.code
    etree.SubElement(detail, f"{{{E}}}Message", nsmap={"e": E}).text = error.text
    if error.back_off_ms is not None:
        more = etree.SubElement(detail, f"{{{T}}}MessageXml", nsmap={"t": T})
        etree.SubElement(more, f"{{{T}}}Value", Name="BackOffMilliseconds").text = str(error.back_off_ms)
    return etree.tostring(root, xml_declaration=True, encoding="utf-8")
