"""The workloads of report.ts with CPython's multiprocessing; prints JSON."""

import json
import multiprocessing
import platform
import statistics
import time

PROCESSES = 2
REPETITIONS = 7


def square(n):
    return n * n


def echo(value):
    return value


def fibonacci(n):
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


def ponger(ping, pong, rounds):
    for _ in range(rounds):
        ping.wait()
        ping.clear()
        pong.set()


def party(barrier, cycles):
    for _ in range(cycles):
        barrier.wait()


def seconds(work):
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def median(work, repetitions=REPETITIONS):
    work()
    return statistics.median(seconds(work) for _ in range(repetitions))


def main():
    figures = {}
    with multiprocessing.Pool(PROCESSES) as pool:
        order = {"id": 7, "name": "soup", "hot": True}
        figures["apply"] = median(
            lambda: [pool.apply(square, (n,)) for n in range(1000)]) * 1e3
        figures["object"] = median(
            lambda: [pool.apply(echo, (order,)) for n in range(1000)]) * 1e3
        figures["flight"] = 20000 / median(
            lambda: [r.get() for r in
                     [pool.apply_async(square, (n,)) for n in range(20000)]])
        numbers = list(range(1000000))
        figures["map"] = median(lambda: pool.map(square, numbers)) * 1e3
        figures["stream"] = 20000 / median(
            lambda: list(pool.imap_unordered(square, range(20000))))
        data = bytes(16 * 2**20)
        figures["copy"] = median(lambda: pool.apply(echo, (data,))) * 1e3
        serial = median(lambda: [fibonacci(27) for _ in range(16)])
        figures["speedup"] = serial / median(
            lambda: pool.map(fibonacci, [27] * 16, chunksize=1))

    def start():
        with multiprocessing.Pool(PROCESSES) as fresh:
            fresh.apply(square, (3,))

    figures["start"] = median(start) * 1e3

    rounds = 2000
    ping, pong = multiprocessing.Event(), multiprocessing.Event()
    other = multiprocessing.Process(
        target=ponger, args=(ping, pong, rounds * (REPETITIONS + 1)))
    other.start()

    def trip():
        for _ in range(rounds):
            ping.set()
            pong.wait()
            pong.clear()

    figures["event"] = median(trip) * 1e6 / rounds
    other.join()

    barrier = multiprocessing.Barrier(2)
    other = multiprocessing.Process(
        target=party, args=(barrier, rounds * (REPETITIONS + 1)))
    other.start()
    figures["barrier"] = median(
        lambda: [barrier.wait() for _ in range(rounds)]) * 1e6 / rounds
    other.join()

    print(json.dumps({"version": platform.python_version(), **figures}))


if __name__ == "__main__":
    main()
