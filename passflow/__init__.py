"""passflow: counts the people who pass a camera, or who walk into an area of its picture.

``from passflow.counter import Authorizer, CustomerCounter`` is all of it; docs/passflow.md is the manual. Importing it
loads no decoder and no network: that happens when ``CustomerCounter.run`` begins.
"""
