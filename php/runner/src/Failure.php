<?php

declare(strict_types=1);

namespace Fervo\Runner;

/** How a job died that could not say so itself, as the worker has seen it: docs/protocol.md, section 8. */
final class Failure
{
    /**
     * @param string $id      the same each time that this failure is told
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
