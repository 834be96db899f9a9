"""A corpus tokenised once, in shards that are read from disk: in the cache, or in a folder of its own.

opening     the token store of a source: start here
prepare     `scaling data prepare`: shards made in parallel, in jobs, resumably
contents    hashes of documents: the split, the order, the fingerprint
plan        which parts of a source make a shard
tokenise    from documents to a shard
shards      the files of a shard, written completely or not at all
workers     processes that make shards
manifest    settings.json, manifest.json, and what a shard's record holds
folder      shards joined, opened, verified
tokens      tokens as arrays that are read from the shards
outside     refuses to write into the source
"""

from scaling.data.store.contents import content_hash, content_order, is_validation, shuffled_order
from scaling.data.store.opening import Progress, open_store
from scaling.data.store.tokenise import Added
from scaling.data.store.tokens import TokenSplit, TokenStore

__all__ = [
    "Added",
    "Progress",
    "TokenSplit",
    "TokenStore",
    "content_hash",
    "content_order",
    "is_validation",
    "open_store",
    "shuffled_order",
]
