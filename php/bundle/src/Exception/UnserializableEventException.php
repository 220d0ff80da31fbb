<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Exception;

/** The event holds what cannot travel to another process; the message says where. */
final class UnserializableEventException extends \LogicException implements ExceptionInterface
{
}
