<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Fixtures;

use Symfony\Component\Messenger\Handler\Acknowledger;
use Symfony\Component\Messenger\Handler\BatchHandlerInterface;
use Symfony\Component\Messenger\Handler\BatchHandlerTrait;

/** A second batch handler, for messages of another class. */
final class InOtherBatches implements BatchHandlerInterface
{
    use BatchHandlerTrait;

    /** @param \ArrayIterator<int, string> $message */
    public function __invoke(\ArrayIterator $message, ?Acknowledger $ack = null): mixed
    {
        return $this->handle($message, $ack);
    }

    private function process(array $jobs): void
    {
        foreach ($jobs as [, $ack]) {
            $ack->ack(null);
        }
    }
}
