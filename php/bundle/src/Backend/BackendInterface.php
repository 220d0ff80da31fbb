<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Backend;

use Fervo\DeferredEventBundle\Exception\SendFailedException;

/**
 * Puts jobs into a queue. To have your own, set `backend: { type: service, service: YOUR_ID }`.
 */
interface BackendInterface
{
    /**
     * Returns when the jobs are in the queue. Where the queue can do so, it is all of them or none.
     *
     * @throws SendFailedException with the jobs that are not in the queue; `isRefusal` when the queue is there and takes none of these,
     *                             so that with `send: transactional` the others are moved
     */
    public function send(DeferredJob ...$jobs): void;
}
