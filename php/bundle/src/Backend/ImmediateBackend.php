<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Backend;

use Fervo\DeferredEventBundle\Worker\PayloadDispatcher;

/**
 * No queue: runs jobs in this process, at once, whatever their delay. They go through their payload all the same, so
 * that what would not reach a worker does not work here either.
 */
final class ImmediateBackend implements InProcessBackendInterface
{
    public function __construct(private readonly PayloadDispatcher $dispatcher)
    {
    }

    /** @throws \Throwable what a listener throws, after all jobs have had their turn */
    public function send(DeferredJob ...$jobs): void
    {
        $first = null;
        foreach ($jobs as $job) {
            try {
                $this->dispatcher->dispatch($job->payload);
            } catch (\Throwable $error) {
                $first ??= $error;
            }
        }
        if (null !== $first) {
            throw $first;
        }
    }
}
