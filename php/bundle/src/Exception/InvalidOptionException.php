<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Exception;

/** An event or an option that cannot be, such as a queue's name with a blank. */
final class InvalidOptionException extends \InvalidArgumentException implements ExceptionInterface
{
}
