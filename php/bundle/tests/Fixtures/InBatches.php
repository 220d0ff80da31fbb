<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Fixtures;

use Doctrine\DBAL\Connection;
use Symfony\Component\Messenger\Handler\Acknowledger;
use Symfony\Component\Messenger\Handler\BatchHandlerInterface;
use Symfony\Component\Messenger\Handler\BatchHandlerTrait;

/** A batch handler that does what each message says. */
final class InBatches implements BatchHandlerInterface
{
    use BatchHandlerTrait;

    /** @param (\Closure(): Connection)|null $connection */
    public function __construct(private readonly int $size = 10, private readonly ?\Closure $connection = null)
    {
    }

    /** @var list<string> */
    public array $seen = [];
    /** @var list<int> */
    public array $sizes = [];

    /** @param \ArrayObject<int, string> $message */
    public function __invoke(\ArrayObject $message, ?Acknowledger $ack = null): mixed
    {
        return $this->handle($message, $ack);
    }

    private function shouldFlush(): bool
    {
        return $this->size <= \count($this->jobs);
    }

    private function process(array $jobs): void
    {
        $this->sizes[] = \count($jobs);
        foreach ($jobs as [$message, $ack]) {
            $this->seen[] = $message[0];
            if ('open' === $message[0]) {
                ($this->connection)()->beginTransaction();
                $ack->ack(null);
                continue;
            }
            match ($message[0]) {
                'good' => $ack->ack(null),
                'bad' => $ack->nack(new \DomainException('bad')),
                'forgotten' => null,
            };
        }
    }
}
