"""A web page for images: Starlette in front of the SDK's asynchronous client.

It decodes nothing and knows no model: what a browser uploads goes to the gateway as it is.
"""
