<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\DataCollector;

use Fervo\DeferredEventBundle\Backend\DeferredJob;
use Symfony\Contracts\Service\ResetInterface;

/**
 * What became of the events that were deferred in this request, for the profiler.
 *
 * @internal
 */
final class DeferralLog implements ResetInterface
{
    /** @var array<int, array{job: DeferredJob, state: string}> */
    private array $entries = [];

    public function deferred(DeferredJob $job): void
    {
        $this->entries[spl_object_id($job)] = ['job' => $job, 'state' => 'waiting'];
    }

    public function sent(DeferredJob $job): void
    {
        $this->set($job, 'sent');
    }

    public function stored(DeferredJob $job): void
    {
        $this->set($job, 'stored');
    }

    public function failed(DeferredJob $job): void
    {
        $this->set($job, 'failed');
    }

    public function dropped(DeferredJob $job): void
    {
        $this->set($job, 'dropped');
    }

    /** @return list<array{job: DeferredJob, state: string}> */
    public function entries(): array
    {
        return array_values($this->entries);
    }

    public function reset(): void
    {
        $this->entries = [];
    }

    private function set(DeferredJob $job, string $state): void
    {
        if (isset($this->entries[spl_object_id($job)])) {
            $this->entries[spl_object_id($job)]['state'] = $state;
        }
    }
}
