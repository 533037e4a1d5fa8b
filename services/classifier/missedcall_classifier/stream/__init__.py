"""The classifier as a service: Faust reads the partitions, one transaction per partition writes what follows.

Nothing outside this folder knows Faust or Kafka.
"""
