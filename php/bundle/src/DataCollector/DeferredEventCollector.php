<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\DataCollector;

use Symfony\Component\HttpFoundation\Request;
use Symfony\Component\HttpFoundation\Response;
use Symfony\Component\HttpKernel\DataCollector\DataCollector;
use Symfony\Component\HttpKernel\DataCollector\LateDataCollectorInterface;

/** @internal */
final class DeferredEventCollector extends DataCollector implements LateDataCollectorInterface
{
    /** @param array<string, int|string> $settings as debug:fervo shows them */
    public function __construct(
        private readonly DeferralLog $log,
        private readonly array $settings,
    ) {
        $this->data = ['events' => [], 'settings' => []];
    }

    public function collect(Request $request, Response $response, ?\Throwable $exception = null): void
    {
        $this->lateCollect();
    }

    /** After kernel.terminate, when also those are sent that waited for it. */
    public function lateCollect(): void
    {
        $events = [];
        foreach ($this->log->entries() as ['job' => $job, 'state' => $state]) {
            $events[] = [
                'name' => $job->eventName,
                'class' => $job->eventClass,
                'listener' => $job->listener,
                'queue' => $job->queue,
                'delayMs' => $job->delayMs(),
                'priority' => $job->priority,
                'attempts' => $job->attempts,
                'bytes' => \strlen($job->payload),
                'state' => $state,
            ];
        }
        $this->data = ['events' => $events, 'settings' => $this->settings];
    }

    /** @return list<array{name: string, class: string, listener: ?string, queue: string, delayMs: int, priority: int, attempts: ?int, bytes: int, state: string}> */
    public function getEvents(): array
    {
        return $this->data['events'];
    }

    /** @return array<string, int|string> */
    public function getSettings(): array
    {
        return $this->data['settings'];
    }

    public function countUnsent(): int
    {
        return \count(array_filter($this->data['events'], static fn (array $event): bool => 'sent' !== $event['state']));
    }

    public function reset(): void
    {
        $this->log->reset();
        $this->data = ['events' => [], 'settings' => []];
    }

    public function getName(): string
    {
        return 'fervo_deferred_event';
    }
}
