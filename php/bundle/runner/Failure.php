<?php

declare(strict_types=1);

namespace Fervo\Runner;

/** The death of a job without an outcome, as the worker has seen it: docs/protocol.md, section 8. */
final class Failure
{
    /**
     * @param string $id      the same each time that the worker reports this failure
     * @param string $code    JOB_CRASHED, JOB_TIMEOUT, JOB_NO_OUTCOME, JOB_ABANDONED or another code of the worker
     * @param string $message for people
     */
    public function __construct(
        public readonly string $id,
        public readonly string $code,
        public readonly string $message,
    ) {
    }
}
