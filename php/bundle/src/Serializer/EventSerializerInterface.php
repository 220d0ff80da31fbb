<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Serializer;

use Fervo\DeferredEventBundle\Exception\UndecodablePayloadException;
use Fervo\DeferredEventBundle\Exception\UnserializableEventException;

/** @internal */
interface EventSerializerInterface
{
    /**
     * The event as text in UTF-8.
     *
     * @throws UnserializableEventException
     */
    public function serialize(object $event): string;

    /**
     * @param class-string|null $class what the event has to be; null = any class
     *
     * @throws UndecodablePayloadException
     */
    public function deserialize(string $data, ?string $class): object;
}
