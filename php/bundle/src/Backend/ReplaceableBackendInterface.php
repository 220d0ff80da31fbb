<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Backend;

/** A backend of which the worker can put a message into the place of another one. */
interface ReplaceableBackendInterface extends BackendInterface
{
    /** The job's message as it is in the queue, byte for byte. Its delay and its queue are told to the worker beside it. */
    public function message(DeferredJob $job): string;
}
