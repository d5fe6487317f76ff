"""Every call ends in exactly one record, whatever becomes of it: a mixed load, short here and long with --soak."""

import os
import random
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import grpc
from tollgate.v1 import chat_pb2, chat_pb2_grpc, content_pb2, usage_pb2, usage_pb2_grpc

from gateway import APP
from upstream import refuses, says, silent, stops_after

SECONDS = float(os.environ.get("TOLLGATE_SOAK_SECONDS", "5"))
CALLERS = 8

# What the upstream does, and the records' statuses that may follow.
FATES = {
    "answers": (says("one two three four"), {"OK", "CANCELLED"}),
    "refuses": (refuses(400), {"INVALID_ARGUMENT", "CANCELLED"}),
    "breaks": (refuses(500), {"UNAVAILABLE", "CANCELLED"}),
    "cuts": (stops_after(3, cut=True), {"UNAVAILABLE", "CANCELLED"}),
    "stalls": (stops_after(2), {"CANCELLED", "DEADLINE_EXCEEDED"}),
    "is-silent": (silent, {"CANCELLED", "DEADLINE_EXCEEDED"}),
}
HELD = ("stalls", "is-silent")


def one_call(chat, rng, run):
    fate = rng.choice(list(FATES))
    tags = f"run={run},fate={fate},call={uuid.uuid4().hex}"
    metadata = [("authorization", f"Bearer {APP}"), ("x-tollgate-tags", tags)]
    message = content_pb2.Message(role=content_pb2.ROLE_USER, parts=[content_pb2.Part(text="hi")])
    request = chat_pb2.StreamCompleteRequest(input=chat_pb2.ChatInput(model=f"fake/{run}-{fate}", messages=[message]))
    events = chat.StreamComplete(request, metadata=metadata, timeout=0.3 if fate in HELD else 60)
    hang_up_after = rng.choice([None, None, 0, 1, 3])
    try:
        for number, _ in enumerate(events):
            if number == hang_up_after:
                events.cancel()
    except grpc.RpcError:
        pass
    return tags


def records_of(usage, run):
    records, token = [], ""
    while True:
        page = usage.ListUsageRecords(
            usage_pb2.ListUsageRecordsRequest(filters={"tag:run": run}, page_size=1000, page_token=token),
            metadata=[("authorization", f"Bearer {APP}")],
            timeout=30,
        )
        records += page.records
        token = page.next_page_token
        if not token:
            return records


def test_a_mixed_load_leaves_exactly_one_record_per_call(gateway, upstream):
    run = uuid.uuid4().hex[:8]
    for fate, (behaviour, _) in FATES.items():
        upstream.script(f"{run}-{fate}", behaviour)
    until = time.monotonic() + SECONDS

    def caller(number):
        rng = random.Random(number)
        made = []
        with grpc.insecure_channel(gateway.host, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            chat = chat_pb2_grpc.ChatServiceStub(channel)
            while time.monotonic() < until or len(made) < 8:
                made.append(one_call(chat, rng, run))
        return made

    with ThreadPoolExecutor(CALLERS) as pool:
        made = list(pool.map(caller, range(CALLERS)))
    calls = {tags.split("call=")[1] for each in made for tags in each}
    with grpc.insecure_channel(gateway.host) as channel:
        usage = usage_pb2_grpc.UsageServiceStub(channel)
        records = records_of(usage, run)
        give_up = time.monotonic() + 60
        while len(records) < len(calls) and time.monotonic() < give_up:
            records = records_of(usage, run)
    seen = [record.tags["call"] for record in records]
    print(f"{len(calls)} calls in {SECONDS:.0f} s")
    assert len(calls) > 50
    assert len(seen) == len(set(seen)), "a call has two records"
    assert set(seen) <= calls, "a record of a call that nobody made"
    # One that has little time may be over before it has left its caller: if all of them stand still for a moment, one each.
    lost = [tags for each in made for tags in each if tags.split("call=")[1] not in seen]
    assert len(lost) <= CALLERS and all(tags.split("fate=")[1].split(",")[0] in HELD for tags in lost), lost
    for record in records:
        assert record.status in FATES[record.tags["fate"]][1], (record.tags["fate"], record.status)
