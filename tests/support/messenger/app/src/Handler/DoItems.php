<?php

declare(strict_types=1);

namespace App\Handler;

use App\Message\Item;
use Symfony\Component\Messenger\Handler\Acknowledger;
use Symfony\Component\Messenger\Handler\BatchHandlerInterface;
use Symfony\Component\Messenger\Handler\BatchHandlerTrait;

/**
 * Handles four messages at once, and fewer when the worker has nothing else to do. It waits for that when one of them will fail:
 * Symfony 6.4 counts all of a batch as failed when the one that made it full fails, and which one that is would be chance.
 *
 * There is no second batch handler: Worker::flush() forgets one of two that wait at the same time.
 */
final class DoItems implements BatchHandlerInterface
{
    use BatchHandlerTrait;

    public function __construct(private readonly Ledger $ledger)
    {
    }

    public function __invoke(Item $item, ?Acknowledger $ack = null): mixed
    {
        $this->ledger->write('hold', 'DoItems', $item->name);

        return $this->handle($item, $ack);
    }

    private function shouldFlush(): bool
    {
        $actions = array_map(static fn (array $job) => $job[0]->action, $this->jobs);

        return 4 <= \count($actions) && ['ok'] === array_values(array_unique($actions));
    }

    private function process(array $jobs): void
    {
        foreach ($jobs as [$item, $ack]) {
            $before = $this->ledger->begin('DoItems', $item->name);
            if ('fails' === $item->action || 'fails once' === $item->action && $before < 1) {
                $ack->nack(new \DomainException('The box is broken'));
                continue;
            }
            $this->ledger->write('end', 'DoItems', $item->name);
            $ack->ack($item->name);
        }
    }
}
