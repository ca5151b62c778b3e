"""Workers on a simulated Kafka in simulated time: a seed decides who runs next, what fails and who dies."""
