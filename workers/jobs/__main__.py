"""The jobs process: run what is due."""

import os
import sys

from workers.jobs.app import main, parse

if __name__ == "__main__":
    arguments = parse(sys.argv[1:])
    if arguments.queues:
        os.environ["JOBS_QUEUES"] = arguments.queues
    sys.exit(main("jobs", clock=arguments.clock, queues=None))
