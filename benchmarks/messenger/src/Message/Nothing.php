<?php

declare(strict_types=1);

namespace App\Message;

/** Its handler does nothing. */
final class Nothing extends Message
{
}
