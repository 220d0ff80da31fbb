<?php

declare(strict_types=1);

namespace App\Message;

/** One handler. */
final class Task extends Message
{
}
