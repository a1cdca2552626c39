"""A release of flashinfer-bench from before `validate`."""
import argparse


def cli():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run")
    commands.add_parser("report")
    parser.parse_args()
