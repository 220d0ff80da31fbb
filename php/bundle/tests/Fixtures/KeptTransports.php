<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Fixtures;

use Symfony\Component\Messenger\Transport\Serialization\SerializerInterface;
use Symfony\Component\Messenger\Transport\TransportFactoryInterface;
use Symfony\Component\Messenger\Transport\TransportInterface;

/** @implements TransportFactoryInterface<KeptTransport> */
final class KeptTransports implements TransportFactoryInterface
{
    /** @param array<string, mixed> $options */
    public function supports(string $dsn, array $options): bool
    {
        return \in_array($dsn, ['kept://', 'broken://'], true);
    }

    /** @param array<string, mixed> $options */
    public function createTransport(string $dsn, array $options, SerializerInterface $serializer): TransportInterface
    {
        return new KeptTransport('broken://' === $dsn);
    }
}
