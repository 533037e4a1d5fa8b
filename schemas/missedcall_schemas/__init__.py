"""What the services agree on, and nothing else.

`records` are the values, `codec` turns them into bytes, `topics` says where they are written and by whom,
`cloudevents` what goes into the headers. `generate` writes the documents that others read: JSON Schema and
AsyncAPI. Nothing here decides anything about a call.
"""
