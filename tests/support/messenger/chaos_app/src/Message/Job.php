<?php

declare(strict_types=1);

namespace App\Message;

final class Job extends Message
{
}
