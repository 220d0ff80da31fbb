<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Fixtures;

use Fervo\DeferredEventBundle\Backend\BackendInterface;
use Fervo\DeferredEventBundle\Backend\DeferredJob;
use Fervo\DeferredEventBundle\Exception\SendFailedException;

final class FakeBackend implements BackendInterface
{
    /** @var list<list<string>> */
    public array $calls = [];

    /** @param list<string>|null $refused payloads that fail; null = all */
    public function __construct(public int $failures = 0, private readonly ?array $refused = null, private readonly bool $echoes = false)
    {
    }

    public function send(DeferredJob ...$jobs): void
    {
        $this->calls[] = array_map(static fn (DeferredJob $job): string => $job->payload, $jobs);
        if ($this->failures-- > 0) {
            throw new SendFailedException('away', array_values(array_filter($jobs, fn (DeferredJob $job): bool => \in_array($job->payload, $this->refused ?? [$job->payload], true))));
        }
        if ($this->echoes) {
            echo 'sent:', implode(',', end($this->calls)), "\n";
        }
    }
}
