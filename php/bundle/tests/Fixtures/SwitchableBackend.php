<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Fixtures;

use Fervo\DeferredEventBundle\Backend\BackendInterface;
use Fervo\DeferredEventBundle\Backend\DeferredJob;
use Fervo\DeferredEventBundle\Exception\SendFailedException;

/** A queue that can be away. */
final class SwitchableBackend implements BackendInterface
{
    public bool $isAway = false;

    /** @var list<string> payloads */
    public array $sent = [];

    public function send(DeferredJob ...$jobs): void
    {
        if ($this->isAway) {
            throw new SendFailedException('away', $jobs);
        }
        foreach ($jobs as $job) {
            $this->sent[] = $job->payload;
        }
    }
}
