<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Messenger;

/**
 * A message as its transport's serializer has encoded it.
 *
 * @internal
 */
final class EncodedMessage
{
    /**
     * @param string                                             $class     of the message, for people
     * @param string                                             $transport its name
     * @param array{body: string, headers: array<string, mixed>} $envelope  byte for byte
     */
    public function __construct(
        public readonly string $class,
        public readonly string $transport,
        public readonly array $envelope,
    ) {
    }
}
