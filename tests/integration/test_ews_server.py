"""The EWS server by a second client, and what it must refuse, so that channel and server share no mistake."""

import asyncio
import base64
import threading
from pathlib import Path

import pytest
import requests
import spnego
import zeep
from ews_server.faults import busy
from ews_server.schema import FOLDER, Schemas
from ews_server.server import EwsServer
from lxml import etree
from support.ews import ACCOUNT, BOB, KEY, NO_SCHEMAS, PASSWORD, assert_valid, make_attempt, make_server, send
from support.notify import NOW

T = "{http://schemas.microsoft.com/exchange/services/2006/types}"
M = "{http://schemas.microsoft.com/exchange/services/2006/messages}"
WSDL = Path(__file__).parents[1] / "data/ews/services.wsdl"

needs_schemas = pytest.mark.skipif(Schemas.find() is None, reason=NO_SCHEMAS)


class Threaded:
    """A server in a thread of its own, for clients that block."""

    def __init__(self, server: EwsServer) -> None:
        self.server = server
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))
        self._over: asyncio.Event | None = None

    async def _serve(self) -> None:
        self._over = asyncio.Event()
        async with self.server:
            self._ready.set()
            await self._over.wait()

    def __enter__(self) -> EwsServer:
        self._thread.start()
        assert self._ready.wait(10)
        return self.server

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)
        self._loop.close()


def zeep_client(server, tmp_path):
    """Return a client that zeep made of the official schemas and our list of operations."""
    wsdl = tmp_path / "services.wsdl"
    wsdl.write_text(WSDL.read_text().replace("@SCHEMAS@", str(FOLDER)).replace("@URL@", server.url))
    session = requests.Session()
    session.trust_env = False
    session.auth = (ACCOUNT, PASSWORD)
    session.headers["X-AnchorMailbox"] = BOB
    client = zeep.Client(
        str(wsdl), transport=zeep.Transport(session=session, timeout=10, operation_timeout=10)
    )
    impersonation = client.get_element(f"{T}ExchangeImpersonation")
    version = client.get_element(f"{T}RequestServerVersion")
    client.set_default_soapheaders(
        [version(Version="Exchange2016"), impersonation(ConnectingSID={"PrimarySmtpAddress": BOB})]
    )
    return client


NAMED = {"PropertySetId": KEY[0], "PropertyName": KEY[1], "PropertyType": "String"}


def only(answer, kind):
    [message] = answer["body"]["ResponseMessages"]["_value_1"] if "body" in answer else answer["_value_1"]
    return message[f"{kind}ResponseMessage"]


@needs_schemas
def test_a_second_client_reads_what_the_channel_wrote(tmp_path):
    """zeep lists the inbox, reads the item and puts it into the bin."""
    server = make_server()
    send(server, tmp_path)

    with Threaded(server):
        client = zeep_client(server, tmp_path)
        inbox = {"_value_1": [{"DistinguishedFolderId": {"Id": "inbox"}}]}
        found = only(
            client.service.FindItem(
                Traversal="Shallow", ItemShape={"BaseShape": "IdOnly"}, ParentFolderIds=inbox
            ),
            "FindItem",
        )
        [message] = found["RootFolder"]["Items"]["_value_1"]
        identity = {
            "Id": message["Message"]["ItemId"]["Id"],
            "ChangeKey": message["Message"]["ItemId"]["ChangeKey"],
        }
        got = only(
            client.service.GetItem(
                ItemShape={"BaseShape": "Default"}, ItemIds={"_value_1": [{"ItemId": identity}]}
            ),
            "GetItem",
        )
        [shown] = got["Items"]["_value_1"]
        deleted = only(
            client.service.DeleteItem(
                DeleteType="MoveToDeletedItems", ItemIds={"_value_1": [{"ItemId": identity}]}
            ),
            "DeleteItem",
        )

    assert shown["Message"]["ItemClass"] == "IPM.Note.Microsoft.Missed.Voice"
    assert shown["Message"]["IsDraft"] is False
    assert shown["Message"]["DateTimeReceived"].timestamp() == NOW
    assert shown["Message"]["From"]["Mailbox"]["EmailAddress"] == "missed-calls@example.com"
    assert deleted["ResponseClass"] == "Success"
    assert [item.folder for item in server.store] == ["deleteditems"]
    assert_valid(server)


@needs_schemas
def test_the_channel_finds_what_a_second_client_wrote(tmp_path):
    server = make_server()

    with Threaded(server):
        client = zeep_client(server, tmp_path)
        created = only(
            client.service.CreateItem(
                MessageDisposition="SaveOnly",
                SavedItemFolderId={"DistinguishedFolderId": {"Id": "inbox"}},
                Items={
                    "_value_1": [
                        {
                            "Message": {
                                "Subject": "by another",
                                "ExtendedProperty": [{"ExtendedFieldURI": NAMED, "Value": "fact-1"}],
                            }
                        }
                    ]
                },
            ),
            "CreateItem",
        )
    assert created["ResponseClass"] == "Success"
    again = make_server()
    again.store = server.store

    [report] = send(again, tmp_path, make_attempt(lost=1))

    assert report.ref == "found"
    assert again.count("CreateItem") == 0


# -- by hand

ENVELOPE = """<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"
  xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types"
  xmlns:m="http://schemas.microsoft.com/exchange/services/2006/messages">
  <s:Header><t:RequestServerVersion Version="Exchange2016"/>{impersonation}</s:Header>
  <s:Body>{body}</s:Body></s:Envelope>"""
IMPERSONATION = (
    "<t:ExchangeImpersonation><t:ConnectingSID><t:PrimarySmtpAddress>{}</t:PrimarySmtpAddress>"
    "</t:ConnectingSID></t:ExchangeImpersonation>"
)
URI = f'<t:ExtendedFieldURI PropertySetId="{KEY[0]}" PropertyName="{KEY[1]}" PropertyType="String"/>'


class ByHand:
    """A client that sends what it is given."""

    def __init__(self, server, auth=(ACCOUNT, PASSWORD)) -> None:
        self._server = server
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.auth = auth

    def post(self, data, **headers) -> requests.Response:
        given = {"Content-Type": "text/xml; charset=utf-8"} | headers
        return self.session.post(self._server.url, data=data, headers=given, timeout=10)

    def ask(self, body, mailbox=BOB, anchor=None) -> etree._Element:
        impersonation = IMPERSONATION.format(mailbox) if mailbox else ""
        data = ENVELOPE.format(impersonation=impersonation, body=body).encode()
        return etree.fromstring(self.post(data, **{"X-AnchorMailbox": anchor or mailbox}).content)

    def codes(self, body, **options) -> list[str]:
        """Return the codes of all response messages, or the fault's."""
        answer = self.ask(body, **options)
        return [e.text for e in answer.iter() if etree.QName(e).localname == "ResponseCode"]


def create(*parts, attributes='MessageDisposition="SaveOnly"', kind="Message") -> str:
    return (
        f'<m:CreateItem {attributes}><m:SavedItemFolderId><t:DistinguishedFolderId Id="inbox"/>'
        f"</m:SavedItemFolderId><m:Items><t:{kind}>{''.join(parts)}</t:{kind}></m:Items></m:CreateItem>"
    )


def prop(uri, value) -> str:
    return f"<t:ExtendedProperty>{uri}<t:Value>{value}</t:Value></t:ExtendedProperty>"


def tag(number, kind) -> str:
    return f'<t:ExtendedFieldURI PropertyTag="{number}" PropertyType="{kind}"/>'


def find(restriction="", most=100, offset=0, folder="inbox") -> str:
    wanted = f"<m:Restriction>{restriction}</m:Restriction>" if restriction else ""
    return (
        '<m:FindItem Traversal="Shallow"><m:ItemShape><t:BaseShape>IdOnly</t:BaseShape>'
        f"<t:AdditionalProperties>{URI}</t:AdditionalProperties></m:ItemShape>"
        f'<m:IndexedPageItemView MaxEntriesReturned="{most}" Offset="{offset}" BasePoint="Beginning"/>{wanted}'
        f'<m:ParentFolderIds><t:DistinguishedFolderId Id="{folder}"/></m:ParentFolderIds></m:FindItem>'
    )


def is_fact(name) -> str:
    constant = f'<t:FieldURIOrConstant><t:Constant Value="{name}"/></t:FieldURIOrConstant>'
    return f"<t:IsEqualTo>{URI}{constant}</t:IsEqualTo>"


@pytest.fixture
def by_hand():
    with Threaded(make_server(BOB, "carol@example.com")) as server:
        yield ByHand(server), server


def test_a_restriction_on_the_named_property_finds_that_item_alone(by_hand):
    client, server = by_hand
    for name in ("fact-1", "fact-2", "FACT-1"):
        assert client.codes(create(prop(URI, name))) == ["NoError"]

    found = client.ask(find(is_fact("fact-1")))

    assert [e.text for e in found.iter(f"{T}Value")] == ["fact-1"]
    assert client.codes(find(is_fact("fact-3"))) == ["NoError"]
    assert len(list(client.ask(find(is_fact("fact-3"))).iter(f"{T}ItemId"))) == 0
    assert len(list(client.ask(find(is_fact("fact-1")), mailbox="carol@example.com").iter(f"{T}ItemId"))) == 0
    assert_valid(server)


def test_pages_have_the_newest_first_and_say_whether_there_are_more(by_hand):
    client, server = by_hand
    for n in range(5):
        client.codes(create(prop(URI, f"fact-{n}")))

    pages = [client.ask(find(most=2, offset=offset)).find(f".//{M}RootFolder") for offset in (0, 2, 4)]

    assert [e.text for page in pages for e in page.iter(f"{T}Value")] == [
        f"fact-{n}" for n in (4, 3, 2, 1, 0)
    ]
    assert [page.get("IncludesLastItemInRange") for page in pages] == ["false", "false", "true"]
    assert_valid(server)


def test_an_item_without_message_flags_is_a_draft(by_hand):
    client, server = by_hand

    client.codes(create("<t:Subject>a</t:Subject>"))
    client.codes(create(prop(tag("0x0E07", "Integer"), 8)))
    client.codes(create(prop(tag("0x0E07", "Integer"), 0)))

    assert [item.is_draft for item in server.store] == [True, True, False]


BARE_PROPERTY = '<t:ExtendedFieldURI PropertyName="x" PropertyType="String"/>'
GET_NOTHING = (
    "<m:GetItem><m:ItemShape><t:BaseShape>IdOnly</t:BaseShape></m:ItemShape>"
    '<m:ItemIds><t:ItemId Id="x"/></m:ItemIds></m:GetItem>'
)
OTHER_OPERATION = (
    "<m:SyncFolderHierarchy><m:FolderShape><t:BaseShape>IdOnly</t:BaseShape></m:FolderShape>"
    "</m:SyncFolderHierarchy>"
)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (create(attributes=""), "ErrorMessageDispositionRequired"),
        (create(attributes='MessageDisposition="SendOnly"'), "ErrorInvalidOperation"),
        (create("<t:ItemClass>IPM.Appointment</t:ItemClass>"), "ErrorItemSavePropertyError"),
        (create("<t:IsDraft>false</t:IsDraft>"), "ErrorInvalidPropertySet"),
        (create("<t:DateTimeReceived>2026-11-23T10:42:07Z</t:DateTimeReceived>"), "ErrorInvalidPropertySet"),
        (create(f"<t:Subject>{'x' * 256}</t:Subject>"), "ErrorItemSavePropertyError"),
        (create(prop(tag("0x8001", "String"), "x")), "ErrorInvalidExtendedProperty"),
        (create(prop(BARE_PROPERTY, "x")), "ErrorInvalidExtendedProperty"),
        (create(prop(tag("0x0E07", "Integer"), "many")), "ErrorInvalidExtendedPropertyValue"),
        (create(prop(tag("0x0E06", "SystemTime"), "yesterday")), "ErrorInvalidExtendedPropertyValue"),
        (
            create(prop(tag("0x0E06", "SystemTime"), "2026-11-23T10:42:07")),
            "ErrorInvalidExtendedPropertyValue",
        ),
        (create(kind="Contact"), "ErrorInvalidOperation"),
        (GET_NOTHING, "ErrorItemNotFound"),
        (OTHER_OPERATION, "ErrorInvalidRequest"),
    ],
    ids=lambda value: value if value.startswith("Error") else "",
)
def test_what_exchange_refuses_is_refused_and_nothing_is_stored(by_hand, body, code):
    client, server = by_hand

    assert client.codes(body) == [code]
    assert list(server.store) == []
    assert_valid(server)


@needs_schemas
@pytest.mark.parametrize(
    "body",
    [
        create("<t:Body>text</t:Body>"),
        create("<t:IsRead>false</t:IsRead><t:Subject>too late</t:Subject>"),
        create("<t:Importance>Urgent</t:Importance>"),
        create(
            prop('<t:ExtendedFieldURI PropertySetId="no guid" PropertyName="x" PropertyType="String"/>', "x")
        ),
        find(folder="in box"),
    ],
    ids=["attribute", "order", "enumeration", "guid", "folder"],
)
def test_what_the_schema_does_not_allow_is_a_fault(by_hand, body):
    client, server = by_hand

    assert client.codes(body) == ["ErrorSchemaValidation"]
    assert len(server.violations) == 1


def test_a_dtd_is_not_read(by_hand):
    client, _ = by_hand
    bomb = '<!DOCTYPE s [<!ENTITY a "b">]>' + ENVELOPE.format(
        impersonation="", body=create("<t:Subject>&a;</t:Subject>")
    )

    assert b"ErrorInvalidRequest" in client.post(bomb).content


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"mailbox": "nobody@example.com"}, "ErrorNonExistentMailbox"),
        ({"mailbox": BOB, "anchor": "carol@example.com"}, "ErrorInvalidRequest"),
        ({"mailbox": ""}, "ErrorMissingEmailAddress"),
    ],
)
def test_whose_mailbox_it_is_has_to_be_right(by_hand, options, code):
    client, _ = by_hand

    assert client.codes(create(), **options) == [code]


def test_one_mailbox_is_not_opened_from_another(by_hand):
    client, _ = by_hand
    body = create().replace(
        'Id="inbox"/>',
        'Id="inbox"><t:Mailbox><t:EmailAddress>carol@example.com</t:EmailAddress></t:Mailbox></t:DistinguishedFolderId>',
    )

    assert client.codes(body) == ["ErrorAccessDenied"]


def test_an_update_needs_the_latest_change_key(by_hand):
    client, server = by_hand
    client.codes(create("<t:Subject>a</t:Subject>"))
    [item] = server.store

    def update(key):
        return (
            '<m:UpdateItem ConflictResolution="NeverOverwrite" MessageDisposition="SaveOnly"><m:ItemChanges>'
            f'<t:ItemChange><t:ItemId Id="{item.id}" ChangeKey="{key}"/><t:Updates><t:SetItemField>'
            '<t:FieldURI FieldURI="item:Subject"/><t:Message><t:Subject>b</t:Subject></t:Message>'
            "</t:SetItemField></t:Updates></t:ItemChange></m:ItemChanges></m:UpdateItem>"
        )

    key = item.change_key
    assert client.codes(update(key)) == ["NoError"]
    assert client.codes(update(key)) == ["ErrorIrresolvableConflict"]
    assert item.text("Subject") == "b"
    assert_valid(server)


def test_a_folder_says_how_many_items_it_has(by_hand):
    client, server = by_hand
    client.codes(create("<t:IsRead>false</t:IsRead>"))

    answer = client.ask(
        "<m:GetFolder><m:FolderShape><t:BaseShape>Default</t:BaseShape></m:FolderShape><m:FolderIds>"
        '<t:DistinguishedFolderId Id="inbox"/></m:FolderIds></m:GetFolder>'
    )

    assert (answer.findtext(f".//{T}TotalCount"), answer.findtext(f".//{T}UnreadCount")) == ("1", "1")
    assert_valid(server)


def test_back_off_stands_where_exchange_puts_it(by_hand):
    client, server = by_hand
    server.plan("CreateItem", busy(1500))

    answer = client.ask(create())

    value = answer.find(f".//detail/{T}MessageXml/{T}Value")
    assert (value.get("Name"), value.text) == ("BackOffMilliseconds", "1500")


# -- who asks


def test_ntlm_is_a_challenge_and_a_response_and_no_shortcut():
    with Threaded(make_server(schemes=("ntlm",))) as server:
        client = ByHand(server, auth=None)
        data = ENVELOPE.format(impersonation=IMPERSONATION.format(BOB), body=create())
        bare = client.post(data)
        ours = spnego.client(ACCOUNT, PASSWORD, protocol="ntlm", options=spnego.NegotiateOptions.use_ntlm)
        challenged = client.post(data, Authorization="NTLM " + base64.b64encode(ours.step()).decode())
        challenge = base64.b64decode(challenged.headers["WWW-Authenticate"].partition(" ")[2])
        response = "NTLM " + base64.b64encode(ours.step(challenge)).decode()
        elsewhere = ByHand(server, auth=None).post(data, Authorization=response)
        let_in = client.post(data, Authorization=response, **{"X-AnchorMailbox": BOB})
        again = client.post(data, **{"X-AnchorMailbox": BOB})

    assert (bare.status_code, bare.headers["WWW-Authenticate"]) == (401, "NTLM")
    assert challenge[:8] == b"NTLMSSP\0"
    assert elsewhere.status_code == 401, "a response is good for the connection that was challenged"
    assert (let_in.status_code, again.status_code) == (200, 200)
    assert server.commits == 2


@pytest.mark.parametrize(
    "header", ["", "Basic", "Basic !!!", "Basic Ym9i", "NTLM", "NTLM TlRMTQ==", "Bearer x", "Digest x"]
)
@pytest.mark.parametrize("scheme", ["basic", "ntlm", "bearer"])
def test_nobody_else_is_let_in(scheme, header):
    with Threaded(make_server(schemes=(scheme,))) as server:
        answer = ByHand(server, auth=None).post("<x/>", **({"Authorization": header} if header else {}))

    assert answer.status_code == 401
    assert server.asked == []
