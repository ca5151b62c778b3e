"""The wire contract as documents: JSON Schemas and AsyncAPI, generated from the types in `cxstream.model`."""
