"""A real Apache Kafka for this computer: development, the demo and the tests.

jars.py     Kafka's jars, fetched once into a cache folder
java.py     a Java that can run them
data.py     the folder that a broker keeps its data in, claimed by one broker at a time
config.py   what makes a single node good for development
process.py  a child process that ends with its parent (guard.py is its other half)
broker.py   LocalKafka: all of the above
docker.py   DockerKafka: the same out of the apache/kafka image
"""

from cxstream.local.broker import LocalKafka

__all__ = ["LocalKafka"]
