<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Exception;

class UnrecoverableException extends \RuntimeException implements UnrecoverableExceptionInterface
{
}
