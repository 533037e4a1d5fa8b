"""What every service of the distributed pipeline needs of Kafka: how to reach it, and its topics.

Nothing but these modules and the services' own shells imports the client library.
"""
