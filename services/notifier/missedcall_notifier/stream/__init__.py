"""The notifier as a service on Kafka: facts from `missed-calls`, the journal in a topic of its own.

Nothing but `membership`, `writer` and `requests` imports the client library.
"""
